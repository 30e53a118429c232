"""Which images are drawn, and which client gets which: its own ones, or some of a pool that all clients share.

`drawn` has a row for each image to draw: class_id and index, which name its noise, and client_id where the image is one
client's own. `dealt` has a row for each image of a client: client_id, and `image`, its row in `drawn`; sorted by image.
"""

import numpy as np
import pandas as pd

from fedsyn.randomness import generator


def own_images(amounts: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`drawn` and `dealt` of clients that each draw what they lack: `amounts` (K, C)."""
    client_id, class_id = (part.ravel().repeat(amounts.ravel()) for part in np.indices(amounts.shape))
    drawn = pd.DataFrame({"client_id": client_id, "class_id": class_id, "index": _count_up(amounts.ravel())})
    return drawn, pd.DataFrame({"client_id": client_id, "image": np.arange(len(drawn))})


def shared_pool(amounts: np.ndarray, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`drawn` and `dealt` of clients that share a pool: of each class as many images as any one client lacks, (K, C).

    Each client gets a random part of the pool, without replacement, drawn for it alone: what a client gets depends on
    no other client but through the size of the pool.
    """
    sizes = amounts.max(axis=0)  # (C,)
    first = np.cumsum(sizes) - sizes
    drawn = pd.DataFrame({"class_id": np.arange(len(sizes)).repeat(sizes), "index": _count_up(sizes)})
    client_id = np.arange(len(amounts)).repeat(amounts.sum(axis=1))
    parts = [
        first[c] + generator(seed, "synthesis", "deal", client_id=k, class_id=c).permutation(sizes[c])[: amounts[k, c]]
        for k, c in np.argwhere(amounts).tolist()
    ]
    image = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    dealt = pd.DataFrame({"client_id": client_id, "image": image})
    return drawn, dealt.sort_values(["image", "client_id"], ignore_index=True)


def _count_up(amounts: np.ndarray) -> np.ndarray:
    """0 .. n - 1 for each n of `amounts`, one after the other."""
    return np.arange(amounts.sum()) - (np.cumsum(amounts) - amounts).repeat(amounts)
