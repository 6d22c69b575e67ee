create or replace function howdah.health_of_groups(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
  -- What a handler has closed for a moment is nothing to wake anybody for.
  select 'group', g.name, case when g.closed_by like 'task %' and g.closed_until < clock + interval '10 minutes' then 'green' else 'yellow' end, 'closed',
         format('It is closed by %s for %s', g.closed_by,
                case when g.closed_until > clock + interval '50 years' then 'as long as nobody opens it' else howdah.in_words(extract(epoch from g.closed_until - clock)::float8) end),
         format('Open it: howdah open-group %s', g.name), jsonb_build_object('closed_until', g.closed_until)
    from howdah."group" g
   where g.closed_until > clock;
end
$$;
comment on function howdah.health_of_groups(timestamptz) is 'Groups that are closed.';
