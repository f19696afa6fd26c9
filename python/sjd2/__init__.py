"""The thin decoder over `sjd2_kernels`: the decoding loop, its policies and the backbones.

This version of the distribution holds the operators alone: `import sjd2_kernels` and use those. The decoder comes here.
"""
