"""Groups of pictures of H.264 and HEVC that are copied from a source into an output as they are coded."""
