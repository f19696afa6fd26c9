"""The definition: every operator in plain PyTorch, on any device, written to be read. One file per operator."""
