"""The thin decoder over `sjd2_kernels`: the decoding loop, its policies and the backbones."""
