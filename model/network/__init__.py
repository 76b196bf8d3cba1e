"""The Dom-ST network: PyTorch modules, tensors in and tensors out."""
