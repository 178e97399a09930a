"""Nodes for ComfyUI; tools/comfyui/ is what lies among its custom nodes."""
