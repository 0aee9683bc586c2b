"""Assertions in the contract are explained as those of a test file."""

import pytest

pytest.register_assert_rewrite("tests.nas.executors.contract")
