"""Fine-tuning for decoding from noise: the loss, the noise, the data, the loop, and `sjd2 finetune` over them.

Nothing is imported here, so that the command line stays quick; see docs/finetune.md for the order of reading.
"""
