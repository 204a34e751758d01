"""POST /predict: the contract of the classic tutorial."""
