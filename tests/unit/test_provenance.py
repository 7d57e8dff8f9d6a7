"""What a run file says about where it comes from."""

from samedge.provenance import LOCK, unlocked

TEXT = (
    "jax==0.10.2 \\\n    --hash=sha256:00\nDM_haiku==0.0.17 ; python_version >= '3' \\\n"
    "    --hash=sha256:11\nnetcdf4==1.7.5.1\n"
)


def test_packages_of_other_versions_than_the_locks_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(TEXT)
    locked = {"jax": "0.10.2", "dm-haiku": "0.0.17", "netCDF4": "1.7.5.1"}
    assert unlocked(locked, lock) == ""
    assert unlocked({"jax": "0.10.2+cuda"}, lock) == ""
    assert unlocked(locked | {"jax": "0.12.0", "optax": "0.2"}, lock) == (
        "jax 0.12.0 (lock: 0.10.2), optax 0.2 (lock: none)"
    )
    assert unlocked(locked, tmp_path / "none.txt") == ""


def test_the_lock_is_the_one_of_this_checkout(repository):
    assert repository / "envs" / "requirements.txt" == LOCK
