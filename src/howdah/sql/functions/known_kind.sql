create or replace function howdah.known_kind(name text) returns howdah.kind
language plpgsql stable
as $$
#variable_conflict use_column
declare
  found_kind howdah.kind;
begin
  select * into found_kind from howdah.kind k where k.name = known_kind.name;
  if not found then
    raise exception using errcode = 'HW001',
      message = format('no handler for kind %L; known kinds: %s', left(known_kind.name, 100),
        coalesce((select string_agg(case when k.n > 20 then '…' else k.name end, ', ' order by k.n)
                    from (select name, row_number() over (order by name) as n from howdah.kind order by name limit 21) k),
                 'none yet')),
      hint = 'Start a worker that has this handler once, or declare it: SELECT howdah.declare(''[{"name": "…"}]'')';
  end if;
  return found_kind;
end
$$;
comment on function howdah.known_kind(text) is 'The row of a kind, or error HW001 that lists the known ones.';
