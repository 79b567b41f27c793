from benchmarks.peers.openvino_worker import group_size
from benchmarks.peers.systems import DEFAULT_SYSTEMS, QUICK_SYSTEMS, SYSTEMS


def test_names_are_known_and_ours_come_first() -> None:
    assert set(QUICK_SYSTEMS) < set(DEFAULT_SYSTEMS) < set(SYSTEMS)
    ours = [SYSTEMS[name].is_ours for name in DEFAULT_SYSTEMS]
    assert ours == sorted(ours, reverse=True)


def test_systems_of_four_bits_and_those_that_round_need_not_agree() -> None:
    exact = {name for name, system in SYSTEMS.items() if system.exact}
    assert {"graphwright", "graphwright-tvm", "transformers-compiled", "openvino"} < exact
    assert "llama.cpp" not in exact
    assert all(system.format == "float32" for system in SYSTEMS.values() if system.exact)


def test_groups_of_scales_divide_the_rows() -> None:
    assert group_size({"hidden_size": 896, "intermediate_size": 4864}) == 128
    assert group_size({"hidden_size": 576, "intermediate_size": 1536}) == 64
