"""What clients have to tensors, and outputs to what they want. Pure; heavy libraries are extras."""
