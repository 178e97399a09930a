"""One thread for small products, and the usual number afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from common.blas import one_blas_thread


def _threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blocks_within_and_beside_each_other_give_back_what_they_found() -> None:
    with threadpool_limits(2, user_api="blas"):
        usual = _threads()
        assert 2 in usual
        first = one_blas_thread()
        first.__enter__()
        with pytest.raises(ValueError, match="inside"), one_blas_thread():
            assert _threads() == {1}
            first.__exit__(None, None, None)
            assert _threads() == {1}, "the other block goes on"
            raise ValueError("inside")
        assert _threads() == usual
