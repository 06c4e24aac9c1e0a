import pytest

try:
    import numba
except ImportError:  # tests that need it say so themselves
    numba = None


@pytest.fixture(autouse=True)
def threads_as_they_were():
    before = numba and numba.get_num_threads()
    yield
    if numba:
        numba.set_num_threads(before)
