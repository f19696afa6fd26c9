"""The commands of `sjd2`, one module each; `sjd2.cli` lists them."""
