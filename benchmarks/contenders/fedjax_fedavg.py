"""FedJAX: its federated_averaging with a Haiku model, each client's steps compiled by `jax.jit`, in one process.

As in its EMNIST example. Images are bytes in memory and are scaled inside the compiled step. Its batches always have 32
samples: the last of a client is filled up with further draws, so a round has a few more samples than the others' do.
The first round compiles.

The newest JAX that FedJAX 0.0.17 runs on is 0.5; 0.4.38 with XLA's older CPU runtime was the fastest of those tried
(0.4.30, 0.4.38, 0.5.3, either runtime) and is used here. Even without threads inside its operations JAX works ahead in
a thread of its own, so the process keeps to one core.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import workload as bench

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false --xla_cpu_use_thunk_runtime=false"

import fedjax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np


def forward(batch: dict[str, jnp.ndarray]) -> jnp.ndarray:
    """The logits of a batch of byte images (n, 28, 28, 1)."""
    layers = [
        hk.Conv2D(32, kernel_shape=3, padding="SAME"),
        jax.nn.relu,
        hk.MaxPool(window_shape=(2, 2, 1), strides=(2, 2, 1), padding="VALID"),
        hk.Conv2D(64, kernel_shape=3, padding="SAME"),
        jax.nn.relu,
        hk.MaxPool(window_shape=(2, 2, 1), strides=(2, 2, 1), padding="VALID"),
        hk.Flatten(),
        hk.Linear(128),
        jax.nn.relu,
        hk.Linear(bench.NUM_CLASSES),
    ]
    return hk.Sequential(layers)(batch["x"].astype(jnp.float32) / 127.5 - 1)


def main() -> None:
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    args = bench.arguments()
    clock = bench.Clock()
    workload = bench.load(args.workload)
    images, labels = workload.images[..., None], workload.labels.astype(np.int32)
    federated_data = fedjax.InMemoryFederatedData(
        {client: {"x": images[rows], "y": labels[rows]} for client, rows in enumerate(workload.clients())}
    )
    model = fedjax.create_model_from_haiku(
        transformed_forward_pass=hk.transform(forward),
        sample_batch={"x": images[:1], "y": labels[:1]},
        train_loss=lambda batch, logits: fedjax.metrics.unreduced_cross_entropy_loss(batch["y"], logits),
        eval_metrics={"loss": fedjax.metrics.CrossEntropyLoss(), "accuracy": fedjax.metrics.Accuracy()},
    )
    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        grad_fn=fedjax.model_grad(model),
        client_optimizer=fedjax.optimizers.sgd(bench.LEARNING_RATE, momentum=bench.MOMENTUM),
        server_optimizer=fedjax.optimizers.sgd(1.0),
        client_batch_hparams=fedjax.ShuffleRepeatBatchHParams(batch_size=bench.BATCH_SIZE),
    )
    state = algorithm.init(model.init(jax.random.PRNGKey(0)))

    clock.start()
    for round_number in range(args.rounds):
        keys = jax.random.split(jax.random.PRNGKey(round_number), federated_data.num_clients())
        clients = [(id_, data, key) for (id_, data), key in zip(federated_data.clients(), keys, strict=True)]
        state, _ = algorithm.apply(state, clients)
        jax.block_until_ready(state.params)
        clock.lap()

    batches = fedjax.padded_batch_federated_data(federated_data, batch_size=500)
    scores = {name: float(score) for name, score in fedjax.evaluate_model(model, state.params, batches).items()}
    bench.report("fedjax_fedavg", ["fedjax", "jax", "dm-haiku"], clock, scores)


if __name__ == "__main__":
    main()
