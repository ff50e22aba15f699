## Tests of moco_shuffle and moco.
