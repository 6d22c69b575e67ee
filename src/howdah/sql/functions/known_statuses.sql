create or replace function howdah.known_statuses(status jsonb, live boolean) returns text[]
language plpgsql stable
as $$
declare
  known  constant text[] := case when live then '{queued,running,suspended,failed}' else '{queued,running,suspended,failed,succeeded,cancelled}' end::text[];
  wanted text[] := case jsonb_typeof(known_statuses.status) when 'array' then array(select jsonb_array_elements_text(known_statuses.status))
                                                          else array[known_statuses.status #>> '{}'] end;
begin
  if not wanted <@ known then
    raise exception using errcode = 'HW002',
      message = format('there is no status %s%s', (select string_agg(quote_literal(w), ', ') from unnest(wanted) w where w <> all (known)), case when live then ' of live tasks' else '' end),
      hint = 'One of: ' || array_to_string(known, ', ');
  end if;
  return wanted;
end
$$;
comment on function howdah.known_statuses(jsonb, boolean) is 'The statuses that a filter names. Error HW002 for one that is none.';
