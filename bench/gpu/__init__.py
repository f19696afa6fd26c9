"""What bench/gpu_check.py runs on a device: each file is one check."""
