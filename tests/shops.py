"""A server of orders on tables that a test fills, and what customers and associates ask of it."""

import itertools

from tests.deployments import wait_until
from tests.servers import Server

SHIP = {"method": "ship", "destination": {"latitude": 52.5, "longitude": 13.4}}
PLACES = {
    "north": {"latitude": 52.5, "longitude": 13.4, "groups": ["online"]},
    "south": {"latitude": 48.1, "longitude": 11.6, "groups": ["online"]},
    "closed": {"enabled": False},
    "no-pickup": {"pickup": False, "ship": False},
}
FOREVER = ("--max-supply-age-ms", "3600000")
"""Nobody stamps the tables of a test, so numbers may be as old as the test."""

_numbers = itertools.count(1)


class Shop(Server):
    """``onhand serve`` with two stores, one that is closed, and one without pickup."""

    def __init__(self, scratch, *flags, auth=False):
        super().__init__(scratch, *FOREVER, *flags, auth=auth)

    def stock(self, units=1_000, places=("north", "south", "closed", "no-pickup")):
        """Put units of a SKU that no other test uses at every place; answer its name."""
        sku = f"sku-{next(_numbers)}"
        for place in places:
            self.kit.add(sku, place, on_hand=units)
        return sku

    def open(self, **headers):
        """Start it, and wait until it takes orders."""
        self.kit.add("apple", "north", on_hand=1_000_000)
        self.publish()
        self.start()
        self.client.headers.update(headers)
        wait_until(self.ready)
        return self

    def ready(self):
        """Tell whether it takes orders; what it moves is applied by nobody here."""
        missing = self.get("/readyz").json()["missing"]
        return all("are not applied yet" in each for each in missing)

    def set_up(self):
        """Set the places up."""
        for place, fields in PLACES.items():
            body = {"name": place, "type": "store"} | fields
            assert self.put(f"/v1/locations/{place}", body).is_success
        return self

    def available(self, sku, location="north"):
        """Read what can be promised of a cell."""
        return self.numbers(sku, location)["available"]

    def numbers(self, sku, location="north"):
        """Read every number of a cell."""
        path = f"/v1/availability/{sku}"
        return self.get(path, params={"location": location}).raise_for_status().json()

    def hold(self, sku, quantity=1, ttl_s=600, **line):
        """Hold units at north, or where the line says; answer the hold."""
        line = {"sku": sku, "quantity": quantity} | (line or {"location": "north"})
        answer = self.post("/v1/holds", {"lines": [line], "ttl_s": ttl_s})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def order(self, *lines, fulfilment=None, **fields):
        """Order (sku, quantity) pairs for collection at north, or as the fields say."""
        answer = self.post("/v1/orders", order_body(*lines, fulfilment=fulfilment, **fields))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def step(self, task, verb, document=None, **options):
        """Ask for one step of a task."""
        return self.post(f"/v1/tasks/{task}/{verb}", document, **options)

    def steps(self, task, *verbs, **documents):
        """Take several steps; answer the task after the last."""
        for verb in verbs:
            answer = self.step(task, verb, documents.get(verb))
            assert answer.status_code == 200, answer.text
        return answer.json()


def order_body(*lines, fulfilment=None, **fields):
    """Write the body of an order."""
    return {
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
        "fulfilment": fulfilment or {"method": "pickup", "location": "north"},
        **fields,
    }
