create or replace function howdah.merged(waiting jsonb, new jsonb) returns jsonb
language sql immutable
as $$
  select merged.waiting || merged.new || coalesce(
           (select jsonb_object_agg(k, merged.waiting -> k || (merged.new -> k)) from jsonb_object_keys(merged.new) k
             where jsonb_typeof(merged.waiting -> k) = 'array' and jsonb_typeof(merged.new -> k) = 'array'), '{}')
$$;
comment on function howdah.merged(jsonb, jsonb) is
  'What on_conflict = merge makes of two payloads: the fields of both; those of the new one win, and two lists become one.';
