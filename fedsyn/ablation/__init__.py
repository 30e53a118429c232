"""Studies: arms of one experiment that differ in a few fields, run over the same seeds and compared.

What publishes their result is imported by itself, from `fedsyn.ablation.gathering`: it pays for pandas and Matplotlib.
"""

from fedsyn.ablation.planning import StageCount, keys_of_each_run, plan_study
from fedsyn.ablation.studies import load_study, make_study, study_names, study_text
from fedsyn.ablation.study import Run, Study

__all__ = [
    "Run",
    "StageCount",
    "Study",
    "keys_of_each_run",
    "load_study",
    "make_study",
    "plan_study",
    "study_names",
    "study_text",
]
