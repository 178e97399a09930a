"""Networks: the dubbing transformer, the video autoencoder, and their files on disk."""

import logging

# xformers warns on every machine without its CUDA kernels as soon as diffusers looks at it. Its attention is
# chosen by name, and diffusers then says plainly where it cannot run.
logging.getLogger("xformers").setLevel(logging.ERROR)
# Likewise for a torchao newer than diffusers knows: weights are quantised after loading, never stored so.
logging.getLogger("diffusers.quantizers.torchao.torchao_quantizer").setLevel(logging.ERROR)
