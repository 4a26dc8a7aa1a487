"""The model, a small vision transformer with adapters of a rank, the data: handwritten digits.

With a model from a hub, `from_pretrained` takes the place of the transformer that is made and trained here.
"""

from functools import cache

import torch
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import ViTConfig, ViTForImageClassification

from lora_digits.adapters import ALPHA

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PICTURE = {"image_size": 8, "patch_size": 4, "num_channels": 1}


def load_model(rank):
    """The base, which stays as it is, with adapters of a rank and a new last layer, which are trained."""
    base = ViTForImageClassification(ViTConfig(**SIZE, **PICTURE, num_labels=10))
    base.load_state_dict(pretrained(), strict=False)
    torch.manual_seed(0)
    return get_peft_model(base, LoraConfig(r=rank, lora_alpha=ALPHA, target_modules="all-linear", modules_to_save=["classifier"]))


@cache
def pretrained():
    """The arrays of a base that can tell the digits below five from the others."""
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(**SIZE, **PICTURE, num_labels=2))
    x, _, y, _ = load_data(0, 1)
    train(model, x, (y < 5).long(), epochs=20, batch_size=32, learning_rate=0.003)
    return {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}


def train(model, x, y, epochs, batch_size, learning_rate):
    """Train what is to be trained; the last loss."""
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], learning_rate)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            loss = model(pixel_values=x[batch], labels=y[batch]).loss
            loss.backward()
            optimizer.step()
    return loss.item()


def accuracy(model, x, y):
    """Share of the images whose digit is found."""
    model.eval()
    with torch.no_grad():
        return (model(pixel_values=x).logits.argmax(-1) == y).float().mean().item()


@cache
def load_data(partition_id, num_partitions):
    """A client's share of the images and labels, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype("float32").reshape(-1, 1, 8, 8)
    parts = train_test_split(images, y, test_size=0.2, random_state=0)
    return [torch.from_numpy(part[partition_id::num_partitions]) for part in parts]
