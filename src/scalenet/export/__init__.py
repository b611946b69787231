"""A member as one file that needs none of this project: ONNX, or a torch.export program."""
