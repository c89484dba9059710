"""Where figures go beside the run directory: Weights & Biases, TensorBoard, or nowhere."""
