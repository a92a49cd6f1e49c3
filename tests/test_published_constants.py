"""Constants that come from papers, from their code, or from this library's benchmarks."""

import pytest

from secateur.models.compensation import ridge
from secateur.transfer import losses
from secateur.transfer.bank import bank
from secateur.transfer.joint import (
    activation_penalty,
    blockwise,
    bn_sparsity,
    kddp,
    masks,
    methods,
    pdd,
    sparse_student,
    tolerance,
)
from secateur.transfer.objectives import base, contrastive, contrastive_queue, crd
from secateur.transfer.objectives.contrastive import ContrastiveConfig
from secateur.transfer.training import recipe

CONSTANTS = {
    # Hinton et al. 2015 by RepDistiller's line for KD: -r 0.1 -a 0.9, --kd_T 4
    "KD, weight of labels": (base.LABEL_WEIGHT, 0.1),
    "KD, weight of the teacher": (base.TEACHER_WEIGHT, 0.9),
    "KD and gates, temperature": (losses.TEMPERATURE, 4.0),
    # KD's weights, and 0.1 for the contrast; chosen on benchmarks/transfer.py
    "CKT, weights": (ContrastiveConfig(), ContrastiveConfig(0.1, 0.9, 0.1, power=2, views=1)),
    "CKT, negatives an image": (contrastive.NEGATIVES, 64),
    "CKT, weight of the contrast": (contrastive.CONTRAST_WEIGHT, 0.1),
    "CKT with a queue, size of the queue": (contrastive_queue.SIZE, 4096),
    # EKG's poster: K = 5
    "bank, teachers": (bank.TEACHERS, 5),
    # Tian et al. 2020, RepDistiller: --feat_dim 128, --nce_t 0.07, --nce_m 0.5, -b 0.8; fewer negatives (16,384)
    "CRD, dimensions": (crd.SIZE, 128),
    "CRD, temperature": (crd.TEMPERATURE, 0.07),
    "CRD, momentum of memories": (crd.MOMENTUM, 0.5),
    "CRD, weight": (crd.CONTRAST_WEIGHT, 0.8),
    "CRD, negatives": (crd.NEGATIVES, 1024),
    # Zhou et al. 2024, published code: 0.6 · CE + 0.4 · T² KL, T = 3
    "PDD, weight of labels": (pdd.LABEL_WEIGHT, 0.6),
    "PDD, weight of the teacher": (pdd.TEACHER_WEIGHT, 0.4),
    "PDD, temperature": (pdd.TEMPERATURE, 3.0),
    "PDD, spread of the masks": (masks.SPREAD, 0.001),
    "PDD, share of the epochs that train masks": (methods.Pdd.learning, 50 / 200),
    # masks of 0.001 on trained channels open again; docs/methods.md
    "PDD, spread of the masks on trained weights": (pdd.TRAINED_SPREAD, 1.0),
    # KDDP names no threshold; a hundredth of the layer's mean
    "KDDP, share of the mean below which a neuron is idle": (activation_penalty.ALIVE, 0.01),
    "KDDP, strength": (kddp.STRENGTH, 0.1),
    "KDDP, strength that is found": ((tolerance.FIRST_STRENGTH, tolerance.RISE, tolerance.FALL), (0.1, 2.0, 4.0)),
    "KDDP, tolerance": (methods.Kddp().tolerance, 0.01),
    # MorphNet (Gordon et al. 2018), code: threshold 0.01
    "block-wise, scale above which a channel is alive": (bn_sparsity.ALIVE, 0.01),
    "block-wise, strength": (blockwise.STRENGTH, 2.0),
    "block-wise, pressure": ((sparse_student.FIRST_PRESSURE, sparse_student.LAST_PRESSURE), (0.1, 1000.0)),
    "block-wise, share of all displacement over which it rises": (sparse_student.RISE, 0.8),
    # GRAIL, code: the same share of the mean diagonal
    "ridge of the compensation": (ridge.RIDGE, 1e-3),
    # the usual SGD of CIFAR ResNets
    "momentum": (recipe.MOMENTUM, 0.9),
    "weight decay": (recipe.Recipe().weight_decay, 5e-4),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_that_of_its_source(name: str) -> None:
    found, expected = CONSTANTS[name]
    assert found == expected


def test_dkd_weights_the_other_classes_twice() -> None:
    """RepDistiller's DKD for ResNet-56 to ResNet-20: α = 1, β = 2, T = 4."""
    assert losses.dkd_loss.__kwdefaults__ == {"temperature": 4.0, "target": 1.0, "others": 2.0}


def test_info_nce_has_a_temperature_of_a_tenth_and_crds_nce_of_seven_hundredths() -> None:
    assert losses.info_nce.__defaults__ == losses.info_nce_from_similarities.__defaults__ == (0.1,)
    assert losses.crd_nce.__defaults__ == (0.07,)
