"""The main job: attacks and defences compared on real data, on Flower's virtual clients."""
