-- Everything that these transitions will touch: the tasks, whom they tell and send to, and whom their end cancels.
create or replace function howdah.concerned(transitions jsonb) returns bigint[]
language sql
as $$
  with asked as materialized (
    select (x ->> 'id')::bigint as id, (x ->> 'parent')::bigint as parent, x -> 'send' as send, x ->> 'to' as "to"
      from jsonb_array_elements(concerned.transitions) x
  )
  select array(select id from asked union all select parent from asked where parent is not null
               union all select (s ->> 'to')::bigint from asked a, jsonb_array_elements(a.send) s where a.send is not null)
         || case when exists (select from asked where "to" = 'cancelled')
                 then howdah.descendants(array(select id from asked where "to" = 'cancelled')) end
$$;
comment on function howdah.concerned(jsonb) is 'The ids of all tasks that these transitions touch, to be locked in one go.';
