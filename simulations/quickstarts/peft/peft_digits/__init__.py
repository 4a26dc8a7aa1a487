"""A Flower app with adapters by Hugging Face's PEFT."""
