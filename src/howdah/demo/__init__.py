"""The main job, on real files: `howdah demo [FOLDER]`."""
