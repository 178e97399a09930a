"""Drawing of the rendered characters, one module for each part of the picture."""
