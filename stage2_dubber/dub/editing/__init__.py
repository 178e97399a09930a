"""From a face's crops to its edited crops: windows, their seams, colours."""
