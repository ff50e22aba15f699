## Goldens of arcface_head and adaptive_margins.
