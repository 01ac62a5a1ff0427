"""The section of `params.yaml` about the served model."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from melanoma.config.types import Positive, Section


class Records(Section):
    """Records of served answers."""

    keep_days: Positive


class Serve(Section):
    """The served function, and limits of the served model and of its server for all requests together."""

    num_views: Literal[1, 4, 8]  # `scoring.views.NUM_VIEWS`
    unlike_fraction: Annotated[float, Field(ge=0, lt=1)] | None
    keep_images: bool
    max_rows: Positive
    max_request_megabytes: Positive
    max_request_megapixels: Positive
    max_image_megapixels: Annotated[int, Field(ge=1, le=64)]  # the library refuses larger ones
    min_image_side: Positive
    max_explained_rows: Positive
    num_occlusion_steps: Annotated[int, Field(ge=2, le=64)]
    request_seconds: Positive
    decode_seconds: Positive
    idle_seconds: Positive
    max_server_megabytes: Positive
    max_server_megapixels: Positive
    max_server_requests: Positive
    max_connections: Positive

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of requests, by name, as they are stored with a model."""
        return self.model_dump(exclude={"num_views", "unlike_fraction", "keep_images"})

    @model_validator(mode="after")
    def _a_request_has_room_for_an_image(self) -> Self:
        if self.max_request_megapixels < self.max_image_megapixels:
            raise ValueError(
                "max_request_megapixels must be at least max_image_megapixels, or allowed images could never "
                f"be sent; got {self.max_request_megapixels} and {self.max_image_megapixels}"
            )
        return self

    @model_validator(mode="after")
    def _server_has_room_for_two_requests(self) -> Self:
        """So that the largest request is admitted while smaller ones are being answered."""
        for unit in ("megabytes", "megapixels"):
            server, request = (getattr(self, f"max_{one}_{unit}") for one in ("server", "request"))
            if server < 2 * request:
                raise ValueError(
                    f"max_server_{unit} must be at least twice max_request_{unit}, or allowed requests "
                    f"could be refused; got {server} and {request}"
                )
        return self
