"""BatchNorm under federation: where its running statistics come from.

Training never reads them, prediction does. `aggregate` averages them like weights (a convex combination, whatever the
server algorithm makes of the weights, so that a variance stays one). `recompute`, here, asks the clients to measure
them under the new weights. `local` keeps none: who predicts uses the statistics of its own images (AdaBN, Li et al.,
2018).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedsyn.federated.client import Client, Task, Training
from fedsyn.federated.flat import FlatModel, batch_norms
from fedsyn.federated.local_training import batches_on_device, num_batches


@torch.no_grad()
def recompute_statistics(
    flat: FlatModel, cohort: Sequence[tuple[Client, Task]], training: Training, round_index: int
) -> Tensor:
    """Running statistics (Q,) of the weights now in `flat`, over one epoch of the cohort's clients.

    Each client k sends its mean mu_k and variance v_k; the server pools them: mu = sum p_k mu_k and
    v = sum p_k (v_k + (mu_k - mu)^2), which no rounding can make negative.
    """
    norms = batch_norms(flat.model)
    momenta = [norm.momentum for norm in norms]
    means, variances, shares = list[Tensor](), list[Tensor](), list[float]()
    epoch = training.settings.model_copy(update={"local_steps": None, "local_epochs": 1})
    for client, task in cohort:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over batches
        own = replace(task, num_batches=num_batches(client.num_samples, epoch))
        for batch, draws in batches_on_device(client, own, training, round_index):
            training.objective.losses(flat.model, batch, draws)
        means.append(torch.cat([_known(norm.running_mean) for norm in norms]))
        variances.append(torch.cat([_known(norm.running_var) for norm in norms]))
        shares.append(task.share)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

    weights = torch.tensor(shares, device=flat.weights.device)[:, None] / sum(shares)
    client_means, client_variances = torch.stack(means), torch.stack(variances)  # (m, Q / 2)
    mean = (weights * client_means).sum(0)
    variance = (weights * (client_variances + (client_means - mean).square())).sum(0)
    widths = [norm.num_features for norm in norms]
    pairs = zip(mean.split(widths), variance.split(widths), strict=True)
    return torch.cat([part for pair in pairs for part in pair])


def _known(statistic: Tensor | None) -> Tensor:
    assert statistic is not None, "recompute is for models that keep statistics"
    return statistic
