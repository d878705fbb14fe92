"""Another output stays on the device that the model is on."""

from __future__ import annotations

import pytest

from lamina.model.architectures.bert import bert
from lamina.model.train.outputs import for_classes, for_vectors
from lamina.model.transformer import Transformer


@pytest.mark.filterwarnings("ignore:.*is a no-op")
def test_what_is_made_of_a_model_is_where_the_model_is() -> None:
    model = Transformer(bert(vocabulary=50, width=16, layers=1, heads=2, inner=32, max_positions=8)).to("meta")
    for made in (for_classes(model, 3), for_vectors(model)):
        assert {parameter.device.type for parameter in made.parameters()} == {"meta"}
