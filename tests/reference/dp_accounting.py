"""Google's accountant: Rényi divergences of sampled noisy sums, and the epsilon that follows."""

import numpy as np
from numpy.typing import NDArray

LIBRARY = "dp-accounting"
APART = True
STEPS = [  # sampling rate, noise, steps, delta
    (0.01, 1.1, 10_000, 1e-5),
    (128 / 1881, 0.6, 150, 1e-5),
    (0.5, 0.1, 3, 1e-6),
    (0.2, 10.0, 1_000, 1e-5),
    (1e-4, 4.0, 1_000_000, 1e-8),
    (1.0, 3.0, 10, 1e-5),
    (0.999, 0.3, 2, 1e-5),
    (0.3, 50.0, 100, 1e-3),
    (0.05, 1000.0, 1, 0.1),
]


def values() -> dict[str, NDArray[np.generic]]:
    import logging

    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    logging.disable(logging.WARNING)
    divergences, epsilons, whole = [], [], []
    for q, z, steps, delta in STEPS:
        event = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(z))
        accountant = RdpAccountant().compose(event, steps)
        divergences.append(accountant._rdp)
        epsilons.append(accountant.get_epsilon(delta))
        only = [order for order in accountant._orders if float(order).is_integer()]
        whole.append(RdpAccountant(only).compose(event, steps).get_epsilon(delta))
    return {
        "orders": np.array(accountant._orders),
        "rdp": np.array(divergences),
        "epsilon": np.array(epsilons),
        "epsilon of whole orders": np.array(whole),
    }
