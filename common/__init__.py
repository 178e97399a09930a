"""What both stages and the evaluation stand on; nothing here knows a stage."""

import logging

# xformers warns on every machine without its CUDA kernels as soon as diffusers looks at it. Its attention is
# chosen by name, and diffusers then says plainly where it cannot run.
logging.getLogger("xformers").setLevel(logging.ERROR)
