## Goldens of moco_shuffle and moco.
