"""A classifier, evaluated: metrics beside a linear model on pixels, figures, what it looks at, its worst mistakes."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import softmax

from ..data import LABEL_NAMES
from ..data.resizing import resize_arrays
from ..evaluation import ClassificationMetric, pca_logistic_rows
from ..evaluation.classification import add_calibrated_error
from ..evaluation.explanation import explain_by_all
from ..evaluation.pca import missing_classes
from ..evaluation.pointing import plant_subhalos, pointing_rows
from ..hub.results import in_words
from ..pipelines import LensClassification
from ..simulation.scenes import AXION, CDM, NO_SUB
from ..visualization import (
    plot_attention_maps,
    plot_calibration,
    plot_confusion,
    plot_embedding,
    plot_lenses,
    plot_roc,
)
from .evaluated import NUM_WORST, Evaluation, Images, Table, embed, parameter_figures, worst_table
from .loading import sample


logger = logging.getLogger(__name__)

# So many images are enough for these, and pixels of a linear model are many numbers.
_MAX_TRAIN_IMAGES = 1000
_MAX_BASELINE_IMAGES = 4000
_MAX_EMBEDDED = 1000
_NUM_PLANTED = 200
_NUM_SHOWN = 4


def evaluate_classifier(
    evaluation: Evaluation, model: Any, image_processor: Any, images: Images, *, in_full: bool
) -> None:
    """Fills in an evaluation: its row and, where there are none, those of its baselines; figures and tables.

    Args:
        evaluation: What is filled in.
        model: The classifier.
        image_processor: Its image processor.
        images: Images with labels.
        in_full: Whether to look at single images, parameters, embeddings and explanations as well.

    Raises:
        ValueError: If the classifier has other classes than the data.
    """
    test, train = images.test, images.train
    classify = LensClassification(model, image_processor)
    probabilities = _probabilities(classify, test)
    learnt = None
    if in_full and images.are_own and train is not None:
        few = sample(train, _MAX_TRAIN_IMAGES)
        learnt = np.asarray(few["label"][:]), _probabilities(classify, few)
    # Only our own networks keep it in the configuration.
    temperature = getattr(model.config, "temperature", evaluation.results.get("temperature") or 1.0)
    describe_answers(evaluation, test, probabilities, temperature, learnt)
    rows = evaluation.results["rows"]
    if len(rows) == 1 and train is not None:
        few = sample(train, _MAX_BASELINE_IMAGES)
        if missing := missing_classes(few["label"][:]):
            logger.warning("No linear models beside the network: no training image is of %s.", " or ".join(missing))
        else:
            pixels = few["image"][:], few["label"][:], test["image"][:], test["label"][:]
            rows += pca_logistic_rows(*pixels, split=rows[0]["split"])
    if not in_full:
        return
    evaluation.figures |= parameter_figures(test, evaluation.scores, "accuracy", chance=1 / len(LABEL_NAMES))
    few = sample(test, _MAX_EMBEDDED)
    if len(few) > 2:  # of fewer there is no map
        embeddings = embed(model, image_processor, few)
        evaluation.figures["embedding_map"] = plot_embedding(embeddings, few["label"][:], LABEL_NAMES)
    _explain(evaluation, model, image_processor, test, probabilities.argmax(axis=1))
    worst = add_worst_answers(evaluation, test, probabilities)
    titles = [f"{truth}, said {said} ({sure:.2f})" for _, truth, said, sure, *_ in evaluation.tables[-1].rows]
    pictures = test.select(worst)["image"][:]
    evaluation.figures["worst_ten"] = plot_lenses(pictures, titles, evaluation.pixel_scale)


def describe_answers(
    evaluation: Evaluation,
    test: Dataset,
    probabilities: np.ndarray,
    temperature: float = 1.0,
    learnt: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Fills in what a classifier's answers say by themselves: its row, ROC, confusion and calibration.

    Args:
        evaluation: What is filled in.
        test: Images with labels, or labels alone.
        probabilities: `(images, classes)`, at a temperature of one.
        temperature: The classifier's own, fitted to other images.
        learnt: Labels and probabilities of images that it was trained on.
    """
    labels = np.asarray(test["label"][:])
    predicted = probabilities.argmax(axis=1)
    evaluation.scores, evaluation.score_name = predicted == labels, "accuracy"
    results = evaluation.results
    metric = ClassificationMetric(LABEL_NAMES).compute(predictions=probabilities, references=labels)
    own = {"name": results["model"]["name"], "split": evaluation.split, **metric}
    calibrations = {"as it is": probabilities}
    if temperature != 1:
        calibrated = at_temperature(probabilities, temperature)
        calibrations[f"temperature {temperature:.2f}"] = calibrated
        add_calibrated_error(own, calibrated, labels)
    results["rows"] = [own, *results["rows"][1:]]
    evaluation.figures["roc"] = plot_roc(labels, probabilities, LABEL_NAMES, train=learnt)
    evaluation.figures["confusion"] = plot_confusion(labels, predicted, LABEL_NAMES)
    evaluation.figures["calibration"] = plot_calibration(labels, calibrations, LABEL_NAMES)


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities `(images, classes)` of logits divided by a temperature, of those at a temperature of one."""
    # Logits are the logarithms of probabilities, but for a number that softmax does not see.
    logits = np.log(np.maximum(probabilities, np.finfo(float).tiny))
    return softmax(logits / temperature, axis=1)


def add_worst_answers(evaluation: Evaluation, test: Dataset, probabilities: np.ndarray) -> np.ndarray:
    """Adds the table of the images whose own class was given the least probability, and returns their indices."""
    labels = np.asarray(test["label"][:])
    of_truth = probabilities[np.arange(len(labels)), labels]
    worst = np.argsort(of_truth, kind="stable")[:NUM_WORST]
    columns = {
        "truth": [LABEL_NAMES[label] for label in labels[worst]],
        "said": [LABEL_NAMES[label] for label in probabilities[worst].argmax(axis=1)],
        "probability": probabilities[worst].max(axis=1).tolist(),
    }
    evaluation.tables.append(worst_table(test, worst, columns))
    return worst


def _probabilities(classify: LensClassification, dataset: Dataset) -> np.ndarray:
    """Float64 probabilities `(images, classes)` in the order of `LABEL_NAMES`, before any calibration."""
    names = classify.class_names
    if sorted(names) != sorted(LABEL_NAMES):
        raise ValueError(
            f"The classes of the checkpoint are {', '.join(names)}, those of the data {', '.join(LABEL_NAMES)}; name "
            "them so in the checkpoint's id2label."
        )
    logits = classify.logits(dataset.select_columns("image"))[:, [names.index(name) for name in LABEL_NAMES]]
    return logits.double().softmax(dim=1).numpy()


def _explain(evaluation: Evaluation, model: Any, image_processor: Any, test: Dataset, predicted: np.ndarray) -> None:
    """Maps of images of the set and, if its simulation is known, of subhalos in known places."""
    # The checkpoint may number the classes in another order.
    ids = {name: class_id for class_id, name in model.config.id2label.items()}
    # Two of each class that the network finds, as far as there is room.
    firsts = [np.flatnonzero(predicted == class_id)[:2] for class_id in (CDM, AXION, NO_SUB)]
    shown = np.concatenate(firsts)[:_NUM_SHOWN]
    images = np.stack([test[int(index)]["image"] for index in shown])
    maps, _ = explain_by_all(model, image_processor, images, [ids[LABEL_NAMES[label]] for label in predicted[shown]])
    titles = [f"said {LABEL_NAMES[class_id]}" for class_id in predicted[shown]]
    evaluation.figures["attention_maps"] = plot_attention_maps(images, maps, titles, evaluation.pixel_scale)

    config = evaluation.simulation
    if config is None or config.substructure is None:
        return
    try:
        planted = plant_subhalos(config, _NUM_PLANTED)
    except ValueError as error:
        logger.warning("No planted subhalos: %s", error)
        return
    size = test.features["image"].shape[1:]
    if planted.images.shape[2:] != size:  # as the images of the set were
        scale = planted.pixel_scale_arcsec * planted.images.shape[-1] / size[-1]
        planted = replace(planted, images=resize_arrays(planted.images, size), pixel_scale_arcsec=scale)
    maps, refused = explain_by_all(model, image_processor, planted.images, [ids["cdm"]] * _NUM_PLANTED)
    said = LensClassification(model, image_processor)(planted.images).labels
    evaluation.figures["planted_subhalos"] = plot_attention_maps(
        planted.images[:_NUM_SHOWN],
        {name: values[:_NUM_SHOWN] for name, values in maps.items()},
        [f"said {name}" for name in said[:_NUM_SHOWN]],
        planted.pixel_scale_arcsec,
        planted.positions[:_NUM_SHOWN, None],
    )
    rows = pointing_rows(maps, planted)
    evaluation.tables.append(
        Table(
            "Do the maps point at a planted subhalo?",
            ["map", *map(in_words, list(rows[0])[1:])],
            [list(row.values()) for row in rows],
            f"{_NUM_PLANTED} lenses of {config.name} with one subhalo of {planted.mass_msun.min():.1e} to "
            f"{planted.mass_msun.max():.1e} solar masses on the ring; the network says cdm of "
            f"{said.count('cdm') / len(said):.0%}. A hit is a peak within the tolerance; chance is the same maps' "
            f"score on the other images. {' '.join(refused)}".strip(),
        )
    )
