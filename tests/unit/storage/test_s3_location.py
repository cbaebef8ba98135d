import subprocess
import sys
import traceback

import pytest

from backstay.domain.errors import UsageError
from backstay.storage.registry import open_storage
from backstay.storage.s3_location import S3Location


def _parse(text, **environment):
    return S3Location.parse(text, environment)


def test_bucket_and_prefix():
    """The path is the prefix, with or without a slash at its end; the rest has defaults."""
    assert _parse("s3://bucket/a/b/") == _parse("s3://bucket/a/b") == S3Location("bucket", "a/b")
    assert _parse("s3://bucket") == _parse("s3://bucket/") == S3Location("bucket")
    assert str(_parse("s3://bucket/a")) == _parse("s3://bucket/a").url == "s3://bucket/a"
    assert str(S3Location("bucket")) == "s3://bucket"


def test_options_win_over_the_environment():
    """Endpoint and region come from the location, else from AWS's variables, the specific one first."""
    environment = {"AWS_ENDPOINT_URL": "https://one", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert _parse("s3://bucket", **environment) == S3Location("bucket", "", "https://one", "eu-west-1")
    more = {**environment, "AWS_ENDPOINT_URL_S3": "https://two/", "AWS_REGION": "eu-west-2"}
    assert _parse("s3://bucket", **more) == S3Location("bucket", "", "https://two", "eu-west-2")
    text = "s3://bucket?endpoint=http://127.0.0.1:8333&region=eu-west-3"
    assert _parse(text, **more) == S3Location("bucket", "", "http://127.0.0.1:8333", "eu-west-3")


@pytest.mark.parametrize(
    "at",
    [
        S3Location("bucket", "a/b", "http://[::1]:8333", "eu-west-1"),
        S3Location("bucket", "a", "https://s3.example.com/gateway", "auto"),
        S3Location("my.bucket_2", "", "", "eu-central-1"),
    ],
)
def test_its_url_opens_it_again(at):
    """The URL says all that is needed, whatever the environment."""
    assert _parse(at.url, AWS_REGION="elsewhere", AWS_ENDPOINT_URL=at.endpoint) == at


@pytest.mark.parametrize(
    "text",
    [
        *("s3://", "s3:///prefix", "s3://b u", "s3://-x", "s3://x", "s3://bucket/a//b", "s3://bucket/../x"),
        *("s3://bucket/%2e%2e", "s3://bucket/.hidden", "s3://bucket:80/x", "s3://bucket/x#y", "s3://[x"),
        *("s3://bucket?endpoint", "s3://bucket?endpoint=host", "s3://bucket?endpoint=ftp://host"),
        *(
            "s3://bucket?endpoint=http://",
            "s3://bucket?endpoint=http://h:99999",
            "s3://bucket?endpoint=not a url",
        ),
        *("s3://bucket?endpoint=http://h/?x=1", "s3://bucket?region=a b", "s3://bucket?region=x/y"),
    ],
)
def test_not_a_location(text):
    """What cannot be a location is a wrong use, with a hint of how to write one."""
    with pytest.raises(UsageError) as caught:
        _parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("s3://KEYID:hunter2@bucket/x", "s3://hunter2@bucket", "s3://bucket?secret=hunter2"),
        *(
            "s3://bucket?hunter2",
            "s3://bucket?endpoint=https://u:hunter2@host",
            "s3://bucket?access_key=hunter2",
        ),
        "s3://bucket?region=hunter2%20x",
    ],
)
def test_keys_are_refused_and_not_repeated(text):
    """A location holds no keys: it is refused, and neither message nor traceback repeats them."""
    with pytest.raises(UsageError) as caught:
        open_storage(text)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + caught.value.hint


def test_without_obstore():
    """Where the extra is not installed, the error names the command that installs it."""
    script = """
import sys
sys.modules["obstore"] = None
from backstay.domain.errors import UsageError
from backstay.storage.registry import open_storage
try:
    open_storage("s3://bucket/x")
except UsageError as error:
    print(error.what, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "obstore is missing" in done.stdout and "pip install 'backstay[s3]'" in done.stdout
