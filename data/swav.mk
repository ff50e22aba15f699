## Goldens of sinkhorn, swav and lr_schedule.
