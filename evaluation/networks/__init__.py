"""The public judge networks in plain torch, with the layer names of the files that their authors publish."""
