create or replace function howdah.colour_of(figure double precision, warn double precision, alarm double precision) returns text
language sql immutable
as $$
  select case when colour_of.figure >= colour_of.alarm then 'red' when colour_of.figure >= colour_of.warn then 'yellow' else 'green' end
$$;
comment on function howdah.colour_of(double precision, double precision, double precision) is 'The colour of a figure: yellow from warn on, red from alarm on. NULL: never.';
