"""What every table shares."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, MetaData, Numeric, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

from whago.kit.ids import new_id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        str: Text,
        Decimal: Numeric,
    }


Id = Annotated[UUID, mapped_column(primary_key=True, default=new_id)]
Short = Annotated[str, mapped_column(String(120))]
Code = Annotated[str, mapped_column(String(40))]
Bytes = Annotated[int, mapped_column(BigInteger, default=0, server_default="0")]
Price = Annotated[Decimal, mapped_column(Numeric(14, 6))]
Cost = Annotated[Decimal, mapped_column(Numeric(30, 15), default=Decimal(0), server_default="0")]
