"""Memory that runs out anywhere in the generation loop changes no reply and loses none."""

import pytest
import torch
from test_inference_decode import CPU, ENDS, NEW, made, plain, some_prompts

from snaketune.inference.decode import Decoder, Prompt
from snaketune.inference.engine import Engine
from snaketune.inference.memory import BatchSize, SlotCache
from snaketune.inference.pick import greedy
from snaketune.runtime.errors import is_out_of_memory


@pytest.fixture(scope="module")
def expected():
    return plain(made("qwen2"), some_prompts(0))


def failing(work, *when, after=False):
    """`work`, which runs out of memory at the calls numbered `when` (from 1): before it has done
    anything, or `after`."""
    calls = []

    def wrapped(*args, **more):
        calls.append(1)
        if len(calls) in when and not after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        result = work(*args, **more)
        if len(calls) in when:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return result

    return wrapped


@pytest.fixture
def engine():
    return Engine(made("qwen2"))


def replies(engine, pick=greedy, batch=16):
    prompts = some_prompts(0)
    asked = [Prompt(i, prompt, NEW) for i, prompt in enumerate(prompts)]
    decoder = Decoder(engine, asked, pick, ENDS, BatchSize(batch, CPU))
    found = [(reply.index, reply.tokens) for reply in decoder.run()]
    assert len(found) == len(dict(found)), "a reply came twice"
    return [dict(found).get(i) for i in range(len(prompts))]


@pytest.mark.parametrize("when", [1, 2, 3, 6, 12])
def test_picking_a_token(engine, expected, when):
    """The step is taken again, with each row's last token fed once."""
    assert replies(engine, pick=failing(greedy, when)) == expected


def test_several_times(engine, expected):
    assert replies(engine, pick=failing(greedy, 3, 4, 9)) == expected


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("when", [1, 2, 4])
@pytest.mark.parametrize("name", ["keep", "shrink", "insert", "reserve"])
def test_changing_the_rows_of_the_cache(engine, expected, monkeypatch, name, when, after):
    monkeypatch.setattr(SlotCache, name, failing(getattr(SlotCache, name), when, after=after))
    pick = failing(greedy, 5) if name == "shrink" else greedy
    assert replies(engine, pick, batch=8) == expected


@pytest.mark.parametrize("name", ["clone", "__getitem__"])
@pytest.mark.parametrize("part", [0.2, 0.4, 0.6, 0.8])
def test_amid_the_layers_of_a_move(engine, expected, monkeypatch, name, part):
    """A cache in which some layers have moved and others have not is given up, not used."""
    work, counted = getattr(torch.Tensor, name), []
    inside = []

    def watched(change):
        def wrapped(*args):
            inside.append(1)
            try:
                return change(*args)
            finally:
                inside.pop()

        return wrapped

    for method in ("move", "keep"):
        monkeypatch.setattr(SlotCache, method, watched(getattr(SlotCache, method)))
    fail_at = []

    def failing_inside(self, *args, **more):
        if inside:
            counted.append(1)
            if len(counted) in fail_at:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return work(self, *args, **more)

    monkeypatch.setattr(torch.Tensor, name, failing_inside)
    monkeypatch.setattr("snaketune.inference.memory._SPARE", 1)
    replies(engine, batch=4)
    calls = len(counted)
    counted.clear()
    fail_at.append(max(1, int(part * calls)))
    assert replies(engine, batch=4) == expected
    assert len(counted) > fail_at[0]


def test_a_move_that_failed_leaves_the_cache_broken(monkeypatch):
    cache = cache_of(layers=3, end=4, width=10)
    monkeypatch.setattr(torch.Tensor, "clone", failing(torch.Tensor.clone, 3))
    with pytest.raises(torch.OutOfMemoryError):
        cache.move(6)
    assert cache.broken


def cache_of(layers, end, width, start=0):
    cache = SlotCache(1, [start])
    cache.end, cache.width = end, width
    numbers = torch.arange(float(width)).reshape(1, 1, width, 1)
    cache.keys = [numbers.clone() for _ in range(layers)]
    cache.values = [numbers.clone() for _ in range(layers)]
    return cache


@pytest.mark.parametrize("start", range(0, 1000, 50))
def test_reserving_a_column_of_a_wide_cache(start):
    """Whatever part of a full cache is in use, the next column has room and the rest is kept."""
    cache = cache_of(layers=2, end=1000, width=1000, start=start)
    cache.reserve(1)
    assert cache.end + 1 <= cache.width == cache.keys[0].shape[2]
    used = cache.keys[1][0, 0, cache.begin : cache.end, 0]
    assert used.tolist() == list(range(start, 1000))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=str,
)
def test_every_form_of_a_lack_of_memory_is_known(error):
    assert is_out_of_memory(error)


def test_another_error_is_none():
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(ValueError("out of memory"))
