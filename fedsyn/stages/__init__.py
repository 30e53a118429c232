"""One file a stage: it reads its inputs, calls the science, writes its files. `run` is the stage's function."""
