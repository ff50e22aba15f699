## Goldens of group_gather and batch_norm.
