"""What is recommended of what was learnt: the best that can be sold, and why."""

import numpy as np
import pytest

from onhand.model.setup import Location, Setup
from onhand.recommendations.arrays_file import ArraysInvalid, map_arrays
from onhand.recommendations.checkpoint import CheckpointMeta
from onhand.recommendations.ranking import COMMONNESS, PRIOR
from onhand.recommendations.recommender import Recommender, most_bought
from onhand.recommendations.sellable import Sellable, Units
from onhand.recommendations.snapshot import SnapshotFollower, SnapshotMeta
from tests.baskets import publish
from tests.tables import tables

__all__ = ["tables"]

BASKETS = [
    *[["tea", "milk", "honey"]] * 6,
    *[["tea", "lemon"]] * 4,
    *[["milk", "bread"]] * 9,
    *[["bread"]] * 20,
    ["tea", "rare"],
]


class Plenty:
    """Stock of which everything is there, save what is named."""

    def __init__(self, missing=(), shipped=()):
        self.missing, self.shipped = set(missing), set(shipped)
        self.looked = 0

    def units(self, skus, location):
        self.looked += len(skus)
        here = [0 if location is None or sku in self.missing else 7 for sku in skus]
        shipped = [
            5 if not units and sku in self.shipped else 0
            for sku, units in zip(skus, here, strict=True)
        ]
        return Units(np.array(here), np.array(shipped))


@pytest.fixture
def recommender(tmp_path):
    return Recommender(SnapshotFollower(publish(tmp_path, BASKETS)))


def skus_of(found):
    return [each.sku for each in found]


def test_what_goes_best_comes_first_and_says_why(recommender):
    """The score is the definition's, and the reason counts the baskets behind it."""
    found = recommender.recommend(["tea"], Plenty(), location="north", popular=False)
    assert skus_of(found) == ["honey", "milk", "lemon", "rare"]
    honey = found[0]
    assert honey.score == pytest.approx(6 / (11 + PRIOR) / (6 + PRIOR) ** COMMONNESS)
    assert (honey.kind, honey.available) == ("bought_together", 7)
    (reason,) = honey.because
    assert (reason.sku, reason.together, reason.baskets) == ("tea", 6, 11)
    assert reason.score == pytest.approx(honey.score)


def test_scores_of_a_basket_add_up_with_the_strongest_reason_first(recommender):
    """Whatever is in the basket is not recommended again."""
    found = recommender.recommend(["tea", "milk", "tea"], Plenty(), location="x", popular=False)
    assert skus_of(found)[0] == "honey"
    assert not {"tea", "milk"} & set(skus_of(found))
    reasons = found[0].because
    assert {each.sku for each in reasons} == {"tea", "milk"}
    assert reasons[0].score >= reasons[1].score
    assert found[0].score == pytest.approx(sum(each.score for each in reasons))


def test_only_what_can_be_sold_is_recommended(recommender):
    """Here, or by shipping; and nothing that the caller leaves out."""
    stock = Plenty(missing=["honey", "lemon"], shipped=["lemon"])
    found = recommender.recommend(["tea"], stock, location="x", popular=False, without=["rare"])
    assert skus_of(found) == ["milk", "lemon"]
    assert (found[1].available, found[1].shippable) == (0, 5)
    anywhere = recommender.recommend(["tea"], stock, popular=False)
    assert skus_of(anywhere) == ["lemon"]


def test_what_is_bought_most_fills_up(recommender):
    """A stranger, and a basket that says little, get what sells, once each."""
    found = recommender.recommend([], Plenty(missing=["milk"]), location="x", limit=3)
    assert [(each.sku, each.kind) for each in found] == [
        ("bread", "popular"), ("tea", "popular"), ("honey", "popular"),
    ]  # fmt: skip
    found = recommender.recommend(["bread", "nobody-knows"], Plenty(), location="x", limit=4)
    assert [(each.sku, each.kind) for each in found] == [
        ("milk", "bought_together"), ("tea", "popular"), ("honey", "popular"), ("lemon", "popular"),
    ]  # fmt: skip
    assert recommender.recommend(["bread"], Plenty(), location="x", limit=0) == []


def test_looking_for_stock_is_bounded(tmp_path):
    """When nothing can be sold, a call still ends after so many looks."""
    baskets = [[f"sku-{number}" for number in range(at, at + 40)] for at in range(0, 4_000, 3)]
    recommender = Recommender(SnapshotFollower(publish(tmp_path, baskets)))
    stock = Plenty()
    assert recommender.recommend(["sku-7", "sku-2000"], stock) == []
    assert 0 < stock.looked < 1_200


def test_similar_is_what_is_bought_in_baskets_of_one_kind(tmp_path):
    """Two brands that are never in one basket, and one thing that goes elsewhere."""
    baskets = [
        *[["brand-a", "milk", "sugar"]] * 9,
        *[["brand-b", "milk", "sugar"]] * 9,
        *[["brand-c", "nails", "hammer"]] * 9,
        ["brand-a", "nails"],
    ]
    recommender = Recommender(SnapshotFollower(publish(tmp_path, baskets)))
    found = recommender.similar("brand-a", ["new", "brand-c", "brand-b"])
    assert [sku for sku, _ in found] == ["brand-b", "brand-c", "new"]
    assert found[0][1] > 0.9
    assert 0 < found[1][1] < 0.5
    assert found[2][1] == 0
    (itself,) = recommender.similar("brand-a", ["brand-a"])
    assert itself[1] == pytest.approx(1, abs=1e-6)
    assert recommender.similar("nobody", ["brand-a"]) == [("brand-a", 0)]
    assert most_bought(recommender.snapshot(), ["new", "hammer", "milk"], 2) == ["milk", "hammer"]


def test_without_a_snapshot_nothing_is_recommended(tmp_path):
    """Before the first is published; a removed one stays in use until there is another."""
    path = tmp_path / "recommendations.snapshot"
    recommender = Recommender(SnapshotFollower(path))
    assert recommender.recommend(["tea"], Plenty(), location="x") == []
    assert recommender.similar("tea", ["milk"]) == [("milk", 0)]
    publish(tmp_path, [["tea", "milk"]])
    assert skus_of(recommender.recommend(["tea"], Plenty(), location="x")) == ["milk"]
    path.unlink()
    assert skus_of(recommender.recommend(["tea"], Plenty(), location="x")) == ["milk"]
    publish(tmp_path, [["tea", "lemon"], ["tea", "lemon", "ice"], ["fire"]])
    found = recommender.recommend(["tea"], Plenty(), location="x", popular=False)
    assert skus_of(found) == ["lemon", "ice"]


@pytest.mark.parametrize("content", [b"", b"x" * 200, None])
def test_a_damaged_snapshot_is_passed_over(tmp_path, content):
    """Readers go on with the one they have."""
    path = publish(tmp_path, [["tea", "milk"]])
    recommender = Recommender(SnapshotFollower(path))
    recommender.recommend(["tea"], Plenty(), location="x")
    damaged = path.read_bytes()[:-70] if content is None else content
    draft = tmp_path / "draft"
    draft.write_bytes(damaged)
    draft.replace(path)
    with pytest.raises(ArraysInvalid):
        map_arrays(path, SnapshotMeta, ["neighbours"])
    assert skus_of(recommender.recommend(["tea"], Plenty(), location="x")) == ["milk"]


@pytest.mark.parametrize(
    ("meta", "arrays"), [(SnapshotMeta, ["neighbours", "novelty"]), (CheckpointMeta, [])]
)
def test_a_file_of_another_version_is_told_from_ours(tmp_path, meta, arrays):
    """A whole file without an array or a field that is needed is as good as none."""
    path = publish(tmp_path, [["tea", "milk"]])
    with pytest.raises(ArraysInvalid):
        map_arrays(path, meta, arrays)


def test_sellable_is_what_is_there_and_what_ships(tables):
    """Units here; where they are too few, those of every place that ships."""
    for sku, location, units in (
        ("apple", "north", 3), ("apple", "south", 5), ("pear", "south", 4), ("pear", "depot", 2),
        ("fig", "closed", 9), ("plum", "kiosk", 8),
    ):  # fmt: skip
        tables.kit.add(sku, location, on_hand=units)
    tables.publish()
    places = {
        "north": {}, "south": {}, "kiosk": {"ship": False}, "closed": {"enabled": False},
    }  # fmt: skip
    setup = Setup(
        locations={
            name: Location(id=name, name=name, type="store", **fields)
            for name, fields in places.items()
        }
    )
    sellable = Sellable(tables.reader(setup), setup)
    skus = ["apple", "pear", "fig", "plum", "unknown"]
    units = sellable.units(skus, "north")
    assert units.available.tolist() == [3, 0, 0, 0, 0]
    assert units.shippable.tolist() == [0, 6, 0, 0, 0]
    assert sellable.units(skus, "north", wanted=4).shippable.tolist() == [8, 6, 0, 0, 0]
    assert sellable.units(skus, "kiosk").available.tolist() == [0, 0, 0, 8, 0]
    assert sellable.units(skus, None).shippable.tolist() == [8, 6, 0, 0, 0]
